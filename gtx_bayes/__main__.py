"""`python -m gtx_bayes`: the program `gtx-bayes`."""

from gtx_bayes.cli.app import main

main()
