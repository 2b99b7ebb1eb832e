"""The grammar of the command line: which verbs and options there are. What a verb does is imported when it runs."""
