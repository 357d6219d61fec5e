"""The road of a window: queries under one mask, the retriever that answers them, the copying problem that follows."""
