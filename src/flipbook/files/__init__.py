"""Reading and writing of video files. `flipbook.video.Video` is the face; one file per concern stands behind it."""
