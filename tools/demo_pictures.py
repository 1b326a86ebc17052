# SPDX-License-Identifier: MIT
"""The demo's pictures: a contact sheet of what each VM made, and a chart of which VM held the GPU when.

Pure functions from data to files; what the data mean is tools/demo's business. Needs Pillow and matplotlib.
"""

import struct
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of the file-only renderer)
from matplotlib import font_manager  # noqa: E402
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError  # noqa: E402

# Told apart also by colour-blind readers (Okabe and Ito's set).
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
THUMB = 300     # longest side of a picture in the contact sheet, in pixels
MARGIN = 16


def load_image(path, max_side):
    """Any picture Pillow reads, upright, as RGBA, scaled down so that neither side exceeds max_side.

    OSError or ValueError: it cannot be read; the text is for people.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    try:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    except UnidentifiedImageError:
        raise ValueError("not a picture format I know") from None
    except Image.DecompressionBombError:
        raise ValueError(f"more than {2 * Image.MAX_IMAGE_PIXELS // 1_000_000} million pixels") from None
    except (SyntaxError, EOFError, struct.error) as error:   # Pillow's, of broken files
        raise ValueError(f"broken: {error}") from None
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return image


def histogram_image(counts, size):
    """A bar picture of 256 counts, the tallest bar as high as the picture."""
    width, height = size
    image = Image.new("RGBA", size, "white")
    draw = ImageDraw.Draw(image)
    top = max(max(counts), 1)
    for x in range(width):
        value = counts[x * 256 // width]
        draw.line([(x, height), (x, height - round(value * (height - 1) / top))], fill="#444444")
    return image


def contact_sheet(path, rows):
    """rows: list of (title, [(caption, image)...]). Writes a PNG."""
    regular = font_manager.findfont("DejaVu Sans")
    bold = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight="bold"))
    title_font, caption_font = ImageFont.truetype(bold, 17), ImageFont.truetype(regular, 13)
    thumbs = []
    for title, pictures in rows:
        line = []
        for caption, image in pictures:
            small = image.convert("RGB")
            small.thumbnail((THUMB, THUMB))
            line.append((caption, small))
        thumbs.append((title, line))
    columns = max(len(line) for _, line in thumbs)
    cell_height = max(image.height for _, line in thumbs for _, image in line)
    row_height = 28 + cell_height + 22 + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * (THUMB + MARGIN), MARGIN + len(thumbs) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for row, (title, line) in enumerate(thumbs):
        draw.rectangle([MARGIN, y + 3, MARGIN + 12, y + 15], fill=COLOURS[row % len(COLOURS)])
        draw.text((MARGIN + 20, y), title, fill="black", font=title_font)
        x = MARGIN
        for caption, image in line:
            sheet.paste(image, (x, y + 28))
            draw.text((x, y + 28 + image.height + 4), caption, fill="#444444", font=caption_font)
            x += THUMB + MARGIN
        y += row_height
    sheet.save(path)


def _busiest_window(intervals, span_ns):
    """Start of the window of span_ns in which most VMs ran, then most time was used."""
    best, best_score = intervals[0][1], (-1, 0)
    for _, start, _ in intervals[:: max(1, len(intervals) // 400)]:
        inside = [(vm, s, e) for vm, s, e in intervals if e > start and s < start + span_ns]
        score = (len({vm for vm, _, _ in inside}), sum(min(e, start + span_ns) - max(s, start) for _, s, e in inside))
        if score > best_score:
            best, best_score = start, score
    return best


def _share_series(intervals, names, start_ns, end_ns, window_ns):
    """For each VM the percentage of each window of window_ns that it held the GPU."""
    count = max(1, -(-(end_ns - start_ns) // window_ns))
    used = {name: [0] * count for name in names}
    for vm, start, end in intervals:
        while start < end:
            index = min((start - start_ns) // window_ns, count - 1)
            edge = start_ns + (index + 1) * window_ns if index < count - 1 else end
            step = min(end, edge)
            used[vm][index] += step - start
            start = step
    return [[100.0 * value / window_ns for value in used[name]] for name in names], count


def timeline(path, intervals, names, title, zoom_ms=60):
    """intervals: [(name, start_ns, end_ns)...]; names: order of the lanes. Writes an SVG or PNG by its ending."""
    intervals = sorted(intervals, key=lambda item: item[1])
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    start_ns, end_ns = intervals[0][1], max(end for _, _, end in intervals)
    figure, (whole, share, zoom) = plt.subplots(3, 1, figsize=(11, 7.2), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")

    def lanes(axis, from_ns, to_ns, unit_ns):
        for lane, name in enumerate(names):
            bars = [((max(s, from_ns) - start_ns) / unit_ns, (min(e, to_ns) - max(s, from_ns)) / unit_ns)
                    for vm, s, e in intervals if vm == name and e > from_ns and s < to_ns]
            axis.broken_barh(bars, (lane - 0.38, 0.76), color=colour[name], linewidth=0)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlim((from_ns - start_ns) / unit_ns, (to_ns - start_ns) / unit_ns)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)

    lanes(whole, start_ns, end_ns, 1e9)
    whole.set_title("Who held the GPU, whole run", fontsize=10, loc="left")
    whole.set_xlabel("seconds")

    window_ns = max(20_000_000, (end_ns - start_ns) // 120)
    series, count = _share_series(intervals, names, start_ns, end_ns, window_ns)
    times = [(i + 0.5) * window_ns / 1e9 for i in range(count)]
    share.stackplot(times, series, labels=names, colors=[colour[name] for name in names], step="mid", linewidth=0)
    share.set_xlim(0, (end_ns - start_ns) / 1e9)
    share.set_ylim(0, 100)
    share.set_ylabel("% of GPU time")
    share.set_xlabel("seconds")
    share.set_title(f"Share of the GPU, windows of {window_ns / 1e6:.0f} ms", fontsize=10, loc="left")
    for side in ("top", "right"):
        share.spines[side].set_visible(False)

    span = min(zoom_ms * 1_000_000, end_ns - start_ns)
    from_ns = _busiest_window(intervals, span)
    lanes(zoom, from_ns, from_ns + span, 1e6)
    zoom.set_title(f"The same, {span / 1e6:.0f} ms of it: single leases", fontsize=10, loc="left")
    zoom.set_xlabel("milliseconds")
    figure.savefig(path, dpi=130)
    plt.close(figure)
