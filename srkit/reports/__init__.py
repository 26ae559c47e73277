"""What runs say: records asked, cards beside the paper, claims judged."""
