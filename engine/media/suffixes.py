"""Names of video files."""

# These are taken from a folder by name, so that a damaged one is reported as failed. Any other file is opened and taken
# when it proves to hold a video.
VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gxf .h264 .264 .h265 .265 .hevc .ivf .m2ts .m2v .m4v .mjpeg .mjpg .mkv"
    " .mov .mp4 .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv .y4m".split()
)
