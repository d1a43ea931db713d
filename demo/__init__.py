"""The demo model: a miniature text-to-image latent diffusion model, its scenes, its training and its judge."""
