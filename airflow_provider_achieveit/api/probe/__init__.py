"""Questions to a real tenant about what AchieveIt's documents leave open, and a report that may leave the house."""
