"""The schema's history; the newest revision's number stands in `database.SCHEMA_HEAD`."""
