"""The parameters as frozen, strict records: a file a section, the whole record, the file they come from."""
