// @ts-check

/** The picture of the detail, made larger and moved: by wheel, two fingers, a double click, or + and −; 0 is the whole. */

import { byId } from './tools.js'

const MOST_ZOOM = 8
/** Of one key, and of one notch of a wheel. */
const STEP = 1.25

const picturePlace = byId('canvas', HTMLElement)

let scale = 1
let offset = { x: 0, y: 0 }
/** Fingers and buttons that are down, by their ids. @type {Map<number, { x: number, y: number }>} */
const held = new Map()

const frameOf = () => /** @type {HTMLElement | null} */ (picturePlace.querySelector('.frame'))

/** Sets scale and place; no part of the picture's edge comes within the window. */
function apply() {
  const frame = frameOf()
  if (!frame) return
  const room = { x: (frame.offsetWidth * (scale - 1)) / 2, y: (frame.offsetHeight * (scale - 1)) / 2 }
  offset = {
    x: Math.max(-room.x, Math.min(room.x, offset.x)),
    y: Math.max(-room.y, Math.min(room.y, offset.y)),
  }
  frame.style.transform = scale === 1 ? '' : `translate(${offset.x}px, ${offset.y}px) scale(${scale})`
  frame.style.setProperty('--scale', String(scale))
  picturePlace.classList.toggle('zoomed', scale > 1)
}

export function resetZoom() {
  scale = 1
  offset = { x: 0, y: 0 }
  held.clear()
  apply()
}

/** @param {number} factor @param {{ x: number, y: number }} [at] what stays in its place, from the middle of the canvas */
function zoom(factor, at = { x: 0, y: 0 }) {
  const wanted = Math.max(1, Math.min(MOST_ZOOM, scale * factor))
  const ratio = wanted / scale
  offset = { x: at.x - (at.x - offset.x) * ratio, y: at.y - (at.y - offset.y) * ratio }
  scale = wanted
  apply()
}

/** @param {{ clientX: number, clientY: number }} event */
function fromMiddle({ clientX, clientY }) {
  const { left, top, width, height } = picturePlace.getBoundingClientRect()
  return { x: clientX - left - width / 2, y: clientY - top - height / 2 }
}

picturePlace.addEventListener(
  'wheel',
  (event) => {
    event.preventDefault()
    zoom(STEP ** (-event.deltaY / (event.deltaMode === 0 ? 100 : 3)), fromMiddle(event))
  },
  { passive: false },
)
picturePlace.addEventListener('dblclick', (event) => (scale > 1 ? resetZoom() : zoom(2.5, fromMiddle(event))))
// A browser would drag the picture out of the page, or select the words around it.
picturePlace.onmousedown = (event) => (scale > 1 || event.detail > 1) && event.preventDefault()
picturePlace.addEventListener('pointerdown', (event) => {
  held.set(event.pointerId, fromMiddle(event))
  if (scale > 1 || held.size > 1) picturePlace.setPointerCapture(event.pointerId)
})
picturePlace.addEventListener('pointermove', (event) => {
  const before = held.get(event.pointerId)
  if (!before) return
  const now = fromMiddle(event)
  held.set(event.pointerId, now)
  const [other] = [...held].flatMap(([id, point]) => (id === event.pointerId ? [] : [point]))
  if (other) {
    /** @param {{ x: number, y: number }} point */
    const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y)
    zoom(distance(now) / Math.max(1, distance(before)), {
      x: (now.x + other.x) / 2,
      y: (now.y + other.y) / 2,
    })
  } else if (scale > 1) {
    offset = { x: offset.x + now.x - before.x, y: offset.y + now.y - before.y }
    apply()
  }
})
for (const name of /** @type {const} */ (['pointerup', 'pointercancel', 'pointerleave']))
  picturePlace.addEventListener(name, (event) => held.delete(event.pointerId))

/** @param {string} key @returns whether it was one of its own */
export function zoomByKey(key) {
  if (key === '+' || key === '=') zoom(STEP)
  else if (key === '-') zoom(1 / STEP)
  else if (key === '0') resetZoom()
  else return false
  return true
}
