// @ts-check

/** Photos to try, for those who have none at hand: only where the server has some, and only at a first visit. */

import { addFiles } from './send.js'
import { BASE } from './server.js'
import { byId, h } from './tools.js'
import { note } from './words.js'

const TITLES = { portrait: 'A portrait', cat: 'A cat', sign: 'A sign' }
/** All that there is to see in one of them. */
const LOOKED_FOR = ['labels', 'faces', 'text', 'metadata']

const samples = byId('samples', HTMLElement)
const names = (samples.dataset['names'] ?? '').split(' ').filter(Boolean)

/** @param {string} name @param {string} title */
async function trySample(name, title) {
  try {
    const response = await fetch(`${BASE}samples/${name}.jpg`)
    if (!response.ok) throw new Error(String(response.status))
    addFiles([new File([await response.blob()], `${name}.jpg`, { type: 'image/jpeg' })], LOOKED_FOR)
  } catch {
    note(`${title} cannot be loaded now.`)
  }
}

export function startSamples() {
  for (const [name, title] of Object.entries(TITLES)) {
    if (!names.includes(name)) continue
    const picture = h('img', { src: `${BASE}samples/${name}.jpg`, alt: '', decoding: 'async' })
    const button = h('button', { type: 'button' }, picture, title)
    button.onclick = () => trySample(name, title)
    samples.append(button)
  }
  samples.hidden = names.length === 0
}
