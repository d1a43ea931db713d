"""Whether optimizing the noise is worth its cost: methods, prompts, running them, counting, drawing. See docs/does-it-work.md."""
