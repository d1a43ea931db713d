"""Operations on images that the libraries share. A leaf: it imports torch, kornia and einops, and nothing of the pack."""
