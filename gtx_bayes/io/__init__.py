"""Tables in and out of files."""

from gtx_bayes.io.readers import read_crowd as read_crowd
from gtx_bayes.io.readers import read_table as read_table
from gtx_bayes.io.writers import OutputDirectory as OutputDirectory
from gtx_bayes.io.writers import whole_file as whole_file
from gtx_bayes.io.writers import write_table as write_table
