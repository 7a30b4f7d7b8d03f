"""Files beside an attempt: captured outputs, the stdin it is given, the file it promised, copies, patterns, a config folder.

Each write says what it survives. A file that an agent may have touched is opened without following links. Nothing here starts or
ends a process.
"""
