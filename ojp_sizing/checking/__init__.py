"""What runs today, or is to run: everything that is wrong with it, whether it carries a demand, and what a reviewer asks."""
