// @ts-check

/**
 * A small picture of a photo that is not analysed yet, for its card. A browser shows no frame of a page while it decodes
 * a large picture to draw it: twelve photos of 24 megapixels held everything up for a minute. So a large one is made
 * small beside the page, one after the other, and only when its card is seen.
 *
 * @import { Photo } from './store.js'
 */

import { lane } from './tools.js'

/** A browser draws a picture of up to so many pixels without being held up. */
const SMALL = 2e6
/** A browser needs 4 bytes for each: 400 MB. Of more there is nothing to see until the thumbnail comes. */
const MOST = 1e8
/** Pixels of the longer side, for 104 on a card of a sharp screen. */
const SIDE = 256

/** What is to be done for a card's picture when it is seen. @type {WeakMap<Element, () => void>} */
const whenSeen = new WeakMap()
const watched = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue
      watched.unobserve(target)
      whenSeen.get(target)?.()
    }
  },
  { rootMargin: '300px' },
)

/** What waits for its turn. @type {WeakMap<Photo, HTMLImageElement>} */
const images = new WeakMap()
const making = lane(1, async (photo) => {
  const image = images.get(photo)
  if (!image || photo.phase === 'completed') return
  const url = await smallOf(photo).catch(() => '')
  // A thumbnail may have come in between.
  if (image.dataset['source'] !== photo.preview) return
  if (!url) return
  image.onload = () => url !== photo.preview && URL.revokeObjectURL(url)
  image.src = url
  image.hidden = false
})

/** @param {Photo} photo @param {HTMLImageElement} image of its card, that shows it as soon as it is seen */
export function previewWhenSeen(photo, image) {
  const place = image.parentElement ?? image
  images.set(photo, image)
  whenSeen.set(place, () => making.add(photo))
  watched.observe(place)
}

/** @param {HTMLImageElement} image */
export const isTooLarge = ({ naturalWidth, naturalHeight }) => naturalWidth * naturalHeight > MOST

/** @param {Photo} photo @returns the URL of a picture to show, or none if there is none */
async function smallOf({ file, preview = '' }) {
  const image = await sizeOf(preview)
  const { naturalWidth: width, naturalHeight: height } = image
  if (!file || isTooLarge(image)) return ''
  if (width * height <= SMALL) return preview
  const scale = SIDE / Math.max(width, height)
  const to = { resizeWidth: Math.ceil(width * scale), resizeHeight: Math.ceil(height * scale) }
  const bitmap = await createImageBitmap(file, to)
  const canvas = new OffscreenCanvas(to.resizeWidth, to.resizeHeight)
  canvas.getContext('2d')?.drawImage(bitmap, 0, 0, to.resizeWidth, to.resizeHeight)
  bitmap.close()
  return URL.createObjectURL(await canvas.convertToBlob({ type: 'image/webp' }))
}

/** Its size alone, for which a browser decodes nothing. @param {string} url @returns {Promise<HTMLImageElement>} */
const sizeOf = (url) =>
  new Promise((done, failed) => {
    const image = new Image()
    image.onload = () => done(image)
    image.onerror = failed
    image.src = url
  })
