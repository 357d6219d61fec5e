"""Who may do what: tokens, certificates, and what is exposed further than one may think."""
