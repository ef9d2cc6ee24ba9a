"""Names of video files."""

# Files with these are taken from a folder by name, so that a damaged one is reported as failed. Other files are probed
# and taken if they contain a video.
VIDEO_SUFFIXES = frozenset(
    ".264 .265 .266 .360 .3g2 .3gp .3gp2 .3gpp .amv .asf .av1 .avc .avi .dav .divx .dv .dvr-ms .evo .f4v .flv .gxf"
    " .h261 .h263 .h264 .h265 .h266 .hevc .insv .ismv .ivf .m1v .m2p .m2t .m2ts .m2v .m4v .mj2 .mjpeg .mjpg .mk3d .mkv"
    " .mov .mp2v .mp4 .mp4v .mpe .mpeg .mpeg4 .mpg .mpg4 .mpv .mts .mxf .nsv .nut .obu .ogm .ogv .qt .rm .rmvb .ts"
    " .tp .trp .vc1 .vob .vro .vvc .webm .wm .wmv .wtv .xvid .y4m".split()
)

# Low-resolution copies and thumbnails that cameras (GoPro, Insta360, DJI) store beside a video.
PREVIEW_SUFFIXES = frozenset(".lrf .lrv .thm".split())
