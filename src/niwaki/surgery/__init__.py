"""What acts on a model: choosing a legal plan, masking, cutting, proving, certifying, saving."""
