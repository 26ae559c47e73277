"""Pictures of pictures: comparisons, maps, plots and sliders that work without a kernel."""
