// The picture on the stage: what the model sees of it, and where it looked.

const COLOURS = [
  [94, 22, 110], [188, 55, 84], [237, 105, 37], [251, 180, 26], [252, 255, 164],
]; // stops of matplotlib's inferno, without its black: there the picture shows

/** Show a picture, and the part that the model sees, of `aspect` (width by height). */
export async function showPicture({ figure, image, crop, caption }, { url, name }, aspect) {
  image.src = url;
  image.alt = name;
  figure.hidden = false;
  try {
    await image.decode();
  } catch {
    crop.hidden = true;
    caption.textContent = `${name}: this browser cannot show the format; the service may read it.`;
    return;
  }
  crop.hidden = false;
  const { naturalWidth: width, naturalHeight: height } = image;
  image.classList.toggle("tiny", Math.max(width, height) <= 128);
  // Shares of the stage, which is a square: the picture is fitted into it, the crop into that.
  const longer = Math.max(width, height);
  const seen = Math.min(width / aspect, height);
  crop.style.setProperty("--width", `${(100 * seen * aspect) / longer}%`);
  crop.style.setProperty("--height", `${(100 * seen) / longer}%`);
  const whole = Math.abs(width - height * aspect) < 1;
  caption.textContent =
    `${name}, ${width} × ${height}. ` +
    (whole ? "The model sees all of it." : "The model sees what is in the frame.");
}

/** Paint a heatmap, rows of values in 0..1, on a canvas of as many pixels. */
export function paintHeat(canvas, heatmap) {
  canvas.hidden = !heatmap;
  if (!heatmap) return;
  canvas.height = heatmap.length;
  canvas.width = heatmap[0].length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  heatmap.flat().forEach((value, index) => {
    pixels.data.set([...colour(value), Math.round(255 * value)], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
}

function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (COLOURS.length - 1);
  const index = Math.min(Math.floor(place), COLOURS.length - 2);
  const share = place - index;
  return COLOURS[index].map((low, i) => Math.round(low + share * (COLOURS[index + 1][i] - low)));
}
