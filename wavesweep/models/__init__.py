"""Networks: the zoo, pretrained ones, and filling them from files. Imports `codec` and below."""
