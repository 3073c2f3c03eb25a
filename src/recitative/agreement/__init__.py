"""How far listeners agree: ratings, Krippendorff's alpha, consensus, the ISMIR 2020 study."""
