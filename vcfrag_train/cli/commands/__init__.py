"""One module per command of `vcfrag`, each with a function `command`, or with an `app` of several."""
