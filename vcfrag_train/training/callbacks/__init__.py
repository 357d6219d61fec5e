"""What happens during training beside the steps."""
