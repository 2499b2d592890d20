"""The judgement: what the destination lacks, fetched once more, and a name for what became of every blob."""
