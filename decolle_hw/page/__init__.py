"""One self-contained HTML page about a compiled network: `content` is what it says, `html.write_page` writes it."""
