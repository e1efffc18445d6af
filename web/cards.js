// @ts-check

/**
 * The grid: a card for each photo of the list.
 *
 * @import { Photo } from './store.js'
 */

import { actionsFor } from './actions.js'
import { partsOf } from './days.js'
import { previewWhenSeen } from './preview.js'
import { pictureUrl, token } from './server.js'
import {
  deletions,
  hasResults,
  isOnServer,
  listChanges,
  listed,
  open,
  opened,
  openings,
  photoChanges,
  pick,
  searchLabels,
} from './store.js'
import { byId, h, setText } from './tools.js'
import { statusText } from './words.js'

const grid = byId('photos', HTMLElement)
/** @type {WeakMap<Photo, Card>} */
const cards = new WeakMap()

/** @typedef {ReturnType<typeof newCard>} Card */

/** @param {'photo' | 'trash'} name of one that page.html has */
const icon = (name) => /** @type {Element} */ (document.querySelector(`#icon-${name} svg`)).cloneNode(true)

/** @param {Photo} photo */
function newCard(photo) {
  const image = h('img', { alt: '', decoding: 'async', loading: 'lazy', hidden: true })
  const button = h('button', { type: 'button', className: 'open', dir: 'auto', onclick: () => open(photo) })
  const status = h('p', { className: 'status' })
  const progress = h('progress', { max: 100, 'aria-label': 'Sent', hidden: true })
  const why = h('p', { className: 'why', hidden: true })
  const chips = h('ul', { className: 'chips', hidden: true, 'aria-label': 'Labels' })
  const actions = h('div', { className: 'actions', hidden: true })
  const box = h('input', {
    type: 'checkbox',
    className: 'select',
    onclick: (/** @type {MouseEvent} */ event) => pick(photo, box.checked, event.shiftKey),
    // The shift key would select the words in between, too.
    onmousedown: (/** @type {MouseEvent} */ event) => event.shiftKey && event.preventDefault(),
  })
  const onclick = () => deletions.publish([photo])
  const trash = h('button', { type: 'button', className: 'round trash', onclick }, icon('trash'))
  const facts = h('div', { className: 'facts' }, h('h4', {}, button), status, progress, why, chips, actions)
  const thumb = h('div', { className: 'thumb' }, icon('photo'), image)
  const element = h('li', { className: 'card' }, thumb, facts, box, trash)
  return { element, image, open: button, status, progress, why, chips, actions, select: box, trash }
}

/** @param {Photo} photo */
function cardOf(photo) {
  const known = cards.get(photo)
  if (known) return known
  const card = newCard(photo)
  cards.set(photo, card)
  renderCard(photo)
  return card
}

/** @param {Photo} photo */
function renderCard(photo) {
  const card = cards.get(photo)
  if (!card) return
  const { phase, problem, record } = photo
  card.element.dataset['phase'] = phase
  setText(card.open, photo.name)
  card.open.title = photo.name
  setText(card.status, statusText(photo))
  card.progress.hidden = phase !== 'uploading'
  card.progress.value = photo.sent
  card.why.hidden = !problem
  setText(card.why, problem ? `${problem.what} ${problem.todo}` : '')
  card.trash.hidden = card.select.hidden = !isOnServer(photo)
  card.select.setAttribute('aria-label', `Select ${photo.name}`)
  card.trash.setAttribute('aria-label', `Delete ${photo.name}`)
  renderThumbnail(photo, card.image)

  const labels = record?.labels ?? record?.rekognitionLabels?.map((label) => label.Name) ?? []
  card.chips.hidden = labels.length === 0
  const chips = labels.slice(0, 6)
  // Those that are still right stay, with the focus that may be on one.
  if (chips.join('\n') !== card.chips.dataset['labels']) {
    card.chips.dataset['labels'] = chips.join('\n')
    card.chips.replaceChildren(...chips.map(chip))
  }

  const actions = actionsFor(photo)
  card.actions.hidden = actions.length === 0
  // Buttons that are still right stay, with the focus that may be on them.
  if (actions.length !== card.actions.childElementCount) card.actions.replaceChildren(...actions)
}

/** @param {string} label */
function chip(label) {
  const onclick = () => searchLabels(label)
  return h(
    'li',
    {},
    h('button', { type: 'button', 'aria-label': `Show photos with ${label}`, onclick }, label),
  )
}

/** A thumbnail has 128 pixels for the 104 of a card, which is too few for a screen with this many to each of them. */
const SOFT_FROM = 1.5

/** @param {Photo} photo @param {HTMLImageElement} image */
async function renderThumbnail(photo, image) {
  const { key, phase, preview, record } = photo
  // Lists do not say whether there is a preview.
  const mayBeSharper = devicePixelRatio >= SOFT_FROM && (record?.preview || !hasResults(record))
  /** @type {'/preview' | '/thumbnail'} */
  let part = mayBeSharper ? '/preview' : '/thumbnail'
  const name = phase === 'completed' ? key + part : (preview ?? '')
  if (!name || image.dataset['source'] === name) return
  image.dataset['source'] = name
  if (phase !== 'completed') return previewWhenSeen(photo, image)
  const show = async () => {
    const source = await pictureUrl(key, part)
    if (image.dataset['source'] !== name) return
    if (!source && part === '/preview') return showThumbnail()
    image.src = source
    image.hidden = !source
  }
  const showThumbnail = () => {
    part = '/thumbnail'
    show()
  }
  image.onerror = () => {
    if (part === '/preview') return showThumbnail()
    image.hidden = true
    // A URL that was asked for with a token is good for some minutes, and a card may be scrolled to after that.
    if (token && !image.dataset['again']) show()
    image.dataset['again'] = 'true'
  }
  image.onload = () => delete image.dataset['again']
  await show()
}

/** Cards of one list: whole rows of up to six. A browser lays out one such list when cards come, and passes over the others. */
const CHUNK = 60
/** Pixels of a card's share of a list, where there are three in a row. */
const SHARE = 48

function renderGrid() {
  const wanted = listed.map((photo) => cardOf(photo).element)
  const active = document.activeElement
  const card = active?.closest('.card')
  // The focus must not fall back to the top of the page.
  if (card && !wanted.some((element) => element === card)) {
    const all = [...grid.querySelectorAll('.card')]
    const at = all.indexOf(card)
    const near = all[at + 1] ?? all[at - 1]
    const next = near?.querySelector('button') ?? byId('files', HTMLInputElement)
    next.focus()
  }
  const headings = grid.querySelectorAll('h3.day')
  const chunks = grid.querySelectorAll('ul.grid')
  const parts = partsOf(listed, CHUNK)
  let days = 0
  arrange(
    grid,
    parts.flatMap(({ day }, at) => {
      const chunk = chunks[at] ?? h('ul', { className: 'grid' })
      if (!day) return chunk
      const heading = headings[days] ?? h('h3', { className: 'day' })
      days += 1
      if (heading instanceof HTMLElement) setText(heading, day)
      return [heading, chunk]
    }),
  )
  const filled = [...grid.querySelectorAll('ul.grid')]
  for (const [at, { some }] of parts.entries()) {
    const chunk = filled[at]
    if (!(chunk instanceof HTMLElement)) continue
    chunk.style.containIntrinsicHeight = `auto ${SHARE * some.length}px`
    arrange(
      chunk,
      some.map((photo) => cardOf(photo).element),
    )
  }
  // Not for nothing: to focus an element has the browser lay out the page.
  if (card && active instanceof HTMLElement && active.isConnected && document.activeElement !== active)
    active.focus()
  for (const photo of listed) cardOf(photo).select.checked = photo.selected
}

/** Only what is not in its place is moved, since a moved element loses the focus. @param {Element} chunk @param {Element[]} wanted */
function arrange(chunk, wanted) {
  const stays = new Set(wanted)
  for (const element of [...chunk.children]) if (!stays.has(element)) element.remove()
  let place = chunk.firstElementChild
  for (const element of wanted) {
    if (element === place) place = place.nextElementSibling
    else chunk.insertBefore(element, place)
  }
}

export function startCards() {
  photoChanges.subscribe(renderCard)
  listChanges.subscribe(renderGrid)
  openings.subscribe((before) => {
    // The browser returns the focus to the first card; after a few steps it belongs on the last one.
    if (before && !opened) cards.get(before)?.open.focus()
  })
}
