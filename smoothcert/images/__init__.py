"""Untrusted image files to exact uint8 pixels, as browsers show them (docs/decisions/0005-images.md).

decode      reads a file of any format: `read_image`
containers  the parts of PNG and JPEG files that Pillow must not see, and metadata such as orientation
bmp         decodes the BMP layouts that Pillow reads differently from browsers
arrays      a path, PIL image, array or tensor to pixels: `certified_image`, `to_grid`
pixels      the result, `CertifiedImage`
folders     finds image files below a folder
"""
