"""The colours of every picture and page: Okabe & Ito 2008, which colour-blind eyes tell apart.

Black is not among them, as dark paper swallows it. Yellow is for areas: a line of it is lost on white.
"""

ORANGE, SKY_BLUE, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
OKABE_ITO = (ORANGE, SKY_BLUE, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)  # on white
