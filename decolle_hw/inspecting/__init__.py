"""What lies in a folder of recordings: counted, drawn, and what a description of it should say."""
