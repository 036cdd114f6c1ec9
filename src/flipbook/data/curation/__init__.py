"""Curation: from raw footage to clips worth training on, with a ledger that says of every clip why it stayed or went."""
