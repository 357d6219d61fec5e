"""The client: trains, imputes, evaluates and compares against an index daemon."""
