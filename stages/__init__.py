"""The stages of a round: tables in, tables out."""
