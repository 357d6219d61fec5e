"""One module per command of `vcfrag`, each with a function `command`; `vcfrag_train.cli.app` registers them."""
