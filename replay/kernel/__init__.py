"""What Linux does, as data: features, profiles, and one module per kernel function holding its ordered checks."""
