"""Which networks stay finite in float16, measured.

float16 has no number above 65504. For each network, with the weights that the zoo has for it: the
largest absolute value between its layers, and by how many grey levels of 255 its pictures change at
most. Of crops of two pictures of Set5 and of a magenta square, on a CPU, in autocast.
`benchmarks/half.py` measures it again. What is missing had no weights at hand, and is not known.
"""

HALF = {  # name: (largest value inside, largest change in grey levels)
    "rlfn_x2": (3597, 1.3),
    "rlfn_x4": (2738, 0.4),
    "rlfn_s_x4": (2115, 0.5),
    "rlfn_ntire_x4": (4637, 0.9),
    "rlfn_tiny_x4": (1354, 0.4),
    "rfdn_aim_x4": (1745, 0.5),
    "imdn_x2": (35, 0.2),
    "imdn_x4": (31, 0.6),
    "rdn_small_x2": (4, 0.4),
    "srresnet8_x4": (226, 0.4),
    "srgan_port_x2": (3782, 1.1),
    "srgan_port_x4": (70, 0.5),
    "esrgan_x4": (34, 1.3),
    "idn_x2": (1, 0.2),
    "idn_x3": (1, 0.2),
    "idn_x4": (2, 0.5),
    "carn_x2": (8, 0.3),
    "carn_m_x2": (3, 0.3),
    "carn_m_x3": (4, 0.2),
    "carn_m_x4": (3, 0.3),
    "pcarn_m_x2": (9, 0.4),
    "pcarn_m_x3": (9, 0.6),
    "pcarn_m_x4": (10, 0.9),
    "enhancenet_pat_x4": (2, 0.6),
    "vdsr_x2": (32, 0.3),
    "vdsr_x3": (26, 0.5),
    "vdsr_x4": (26, 2.3),
    "lapsrn_x4": (1, 0.5),
}
