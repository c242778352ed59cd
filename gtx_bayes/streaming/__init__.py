"""Tables larger than memory: the same answers, part by part, by threads or a cluster's workers.

DuckDB reads the files, and partitions the answers by a hash of their example's name, so that a part
holds all answers to its examples; they are kept as arrays of numbers in a work directory. A fit
then goes over the parts, pass by pass; between passes there is nothing but what all examples add
up to. These totals are whole numbers, which add up to the same in any order: neither the number
of workers nor an interruption changes a digit of the result.
"""
