// @ts-check

/** What is to be found out about the photos that are added: of what the server offers, remembered by this browser. */

import { settings } from './store.js'
import { byId, h } from './tools.js'

const WORDS = {
  labels: 'Things',
  faces: 'Faces',
  text: 'Text',
  moderation: 'What needs a moderator',
  metadata: 'Camera and time',
  gps: 'Place',
}
/** Without a choice, the server's own. */
const USUAL = ['labels', 'faces', 'metadata']
const REMEMBERED = 'image-analyzer analyses'

const fieldset = byId('analyses', HTMLFieldSetElement)
const offered = (fieldset.dataset['offered'] ?? '').split(' ')

/** @returns {string[]} */
function remembered() {
  try {
    const known = localStorage.getItem(REMEMBERED)?.split(' ')
    return known ?? USUAL
  } catch {
    return USUAL // the browser keeps nothing
  }
}

export function startChoice() {
  const boxes = Object.entries(WORDS)
    .filter(([name]) => offered.includes(name))
    .map(([name, label]) => {
      const box = h('input', { type: 'checkbox', value: name, checked: remembered().includes(name) })
      fieldset.append(h('label', { className: 'check' }, box, label))
      return box
    })
  const chosen = () => boxes.filter(({ checked }) => checked).map(({ value }) => value)
  const choose = () => {
    const names = chosen()
    const usual = USUAL.filter((name) => offered.includes(name))
    settings.analyses = names.length === 0 || names.join() === usual.join() ? undefined : names
  }
  choose()
  fieldset.onchange = (event) => {
    // With nothing to find there is nothing to send.
    if (chosen().length === 0 && event.target instanceof HTMLInputElement) event.target.checked = true
    choose()
    try {
      localStorage.setItem(REMEMBERED, chosen().join(' '))
    } catch {
      // It counts until the page is left.
    }
  }
}
