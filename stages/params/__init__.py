"""The parameters as frozen, strict records: one file per section, the whole record, the file they come from."""
