// @ts-check

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
export function byId(id, kind) {
  const element = document.getElementById(id)
  if (element instanceof kind) return element
  throw new Error(`page.html has no ${kind.name} #${id}`)
}

/**
 * An element with properties (`textContent`, `onclick`, …) or, where there is no such property, attributes.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [props]
 * @param {...(Node | string | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name in element) Reflect.set(element, name, value)
    else element.setAttribute(name, String(value))
  }
  for (const child of children) if (child) element.append(child)
  return element
}

/** @param {number} seconds */
export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000))

/** Seconds before the next attempt: 1, 2, 4, … 30. @param {number} attempt from 0 */
export const backoff = (attempt) => Math.min(30, 2 ** attempt)

/**
 * A queue, so many at a time.
 *
 * @param {number} width
 * @param {(photo: import('./store.js').Photo) => Promise<void>} work
 */
export function lane(width, work) {
  /** @type {import('./store.js').Photo[]} */
  const queue = []
  let busy = 0
  function next() {
    while (busy < width) {
      const photo = queue.shift()
      if (!photo) return
      busy++
      work(photo).finally(() => {
        busy--
        next()
      })
    }
  }
  return {
    /** @param {import('./store.js').Photo} photo */
    add(photo) {
      queue.push(photo)
      next()
    },
  }
}

/** @param {number} count @param {string} one */
export const counted = (count, one) => `${number(count)} ${one}${count === 1 ? '' : 's'}`

/** @param {number} value @param {number} [digits] most digits after the point */
export const number = (value, digits = 0) => value.toLocaleString('en', { maximumFractionDigits: digits })

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1_000) return `${bytes} bytes`
  if (bytes < 999_500) return `${number(bytes / 1e3)} KB`
  return `${number(bytes / 1e6, 1)} MB`
}

/** Cut off, not rounded: 99.98 is not 100. @param {number | undefined} confidence */
export const percent = (confidence) =>
  confidence === undefined ? '' : `${number(Math.floor(confidence * 10) / 10, 1)}%`

/** @param {string | undefined} type SURPRISED → Surprised */
export const words = (type = '') => type.charAt(0) + type.slice(1).toLowerCase()

/** @param {string} from @param {string} to */
export const elapsed = (from, to) => `${number(Math.max(0, Date.parse(to) - Date.parse(from)) / 1000, 1)} s`

/** @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** @param {string} text @returns {Promise<boolean>} whether it is on the clipboard */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false // over plain http, or not allowed
  }
}

/** A text that scrolls, with a button that copies it. @param {string} name @param {string} text */
export function copyable(name, text) {
  // `tabindex`, so that the keyboard can scroll it.
  const pre = h('pre', { tabIndex: 0, role: 'region', 'aria-label': name }, text)
  const button = h(
    'button',
    { type: 'button', className: 'quiet small copy', 'aria-label': `Copy ${name}` },
    'Copy',
  )
  button.onclick = async () => {
    const done = await copy(text)
    if (!done) getSelection()?.selectAllChildren(pre)
    button.textContent = done ? 'Copied' : 'Selected'
    setTimeout(() => {
      button.textContent = 'Copy'
    }, 2_000)
  }
  return h('div', { className: 'copyable' }, pre, button)
}
