"""Networks from and to other tools: lava-dl netx files, NIR graphs."""
