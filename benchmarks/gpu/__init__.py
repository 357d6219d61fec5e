"""The check of a GPU node: stages in processes of their own, each with a time limit, whose findings outlive it."""
