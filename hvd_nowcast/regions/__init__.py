"""Many models over space: cut it, see which regions are alike, and let them learn from each other.

After Mitra, Warushavithana, Arabi, Breidt and Pallickara (CCGrid 2022, pp. 452-462), who contrast
schemes of transfer over space and report 2.87 to 5.3 times less completion time per model by
spatiotemporally aligned transfer. How they cut, compare and align is not public; ours is told in
`segment`, `similarity` and `transfer`.
"""
