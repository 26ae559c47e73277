"""How good a result is: PSNR, SSIM, LPIPS, benchmarks, and the trunks that look."""
