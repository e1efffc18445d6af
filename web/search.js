// @ts-check

/** What the list is asked for: labels that were picked, and the fields of the form. All of it is in the address. */

import { ask, BASE } from './server.js'
import { filterChanges, filters, setFilters, withLabels } from './store.js'
import { byId, h } from './tools.js'

const filterForm = byId('filters', HTMLFormElement)
const searchField = byId('label', HTMLInputElement)
const people = byId('people', HTMLSelectElement)
const suggestions = byId('suggestions', HTMLDataListElement)

/** Milliseconds after the last key before a search begins. */
const TYPING_MS = 300
const SUGGESTED = '8'

/** @type {string[]} */
let pickedLabels = []
/** The label whose name stands in the field, as it is written there or not. @type {string | undefined} */
let typedLabel

/** What the form says. */
function filterQuery() {
  const query = new URLSearchParams()
  const typed = searchField.value.trim()
  for (const label of [...pickedLabels, typedLabel]) if (label) query.append('label', label)
  if (typed && !typedLabel) query.set('filename', typed)
  for (const [name, value] of new FormData(filterForm)) if (value) query.set(name, String(value))
  if (people.value) query.set(...pair(people.value))
  if (!query.has('label')) query.delete('minConfidence')
  if (query.get('status') !== 'failed') query.delete('failure')
  return query
}

/** @param {string} text as options of `people` are: `faces=true` @returns {[name: string, value: string]} */
function pair(text) {
  const [name = '', value = ''] = text.split('=')
  return [name, value]
}

/** The filters are in the address, so that a reload and a bookmark keep them. */
function restoreFilters() {
  const query = new URLSearchParams(location.search)
  pickedLabels = query.getAll('label')
  searchField.value = query.get('filename') ?? ''
  for (const [name, value] of query) {
    if (name === 'faces' || name === 'emotion') people.value = `${name}=${value}`
    const field = filterForm.elements.namedItem(name)
    // `namedItem` goes by ids too.
    if (field === searchField) continue
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value
  }
  byId('more-filters', HTMLDetailsElement).open = query.has('from') || query.has('to')
  setFilters(filterQuery())
}

function renderFilters() {
  const query = filters
  // From elsewhere: a chip of a card, or photos that were added.
  if (query.size === 0) emptyForm()
  pickedLabels = query.getAll('label').filter((label) => label !== typedLabel)
  byId('confidence', HTMLElement).hidden = !query.has('label')
  byId('failure', HTMLElement).hidden = query.get('status') !== 'failed'
  byId('clear', HTMLElement).hidden = query.size === 0
  byId('tokens', HTMLUListElement).replaceChildren(...pickedLabels.map(tokenElement))
  history.replaceState(
    history.state,
    '',
    `${query.size > 0 ? `?${query}` : location.pathname}${location.hash}`,
  )
}

/** @param {string} label */
function tokenElement(label) {
  const onclick = () => {
    pickedLabels = pickedLabels.filter((other) => other !== label)
    searchField.focus()
    search(0)
  }
  const cross = h('span', { 'aria-hidden': true }, ' ×')
  return h('li', {}, h('button', { type: 'button', onclick, 'aria-label': `Remove ${label}` }, label, cross))
}

/** @param {string[]} names */
function pickLabels(names) {
  pickedLabels = withLabels(pickedLabels, names)
}

function emptyForm() {
  filterForm.reset()
  searchField.value = ''
  typedLabel = undefined
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing
/** @param {number} ms */
function search(ms) {
  clearTimeout(typing)
  typing = setTimeout(async () => {
    await readField()
    setFilters(filterQuery())
  }, ms)
}

/** Of what is typed, names of labels become labels, and the rest is looked for in file names. */
async function readField() {
  const typed = searchField.value.trim()
  const known = typed ? await labelsLike(typed) : []
  if (searchField.value.trim() !== typed) return
  suggestions.replaceChildren(...known.map((value) => h('option', { value })))
  typedLabel = known.find((name) => name.toLowerCase() === typed.toLowerCase())
}

/** @param {string} prefix @returns {Promise<string[]>} */
async function labelsLike(prefix) {
  const query = new URLSearchParams({ prefix: prefix.slice(0, 256), limit: SUGGESTED })
  const answer = await ask(`${BASE}labels?${query}`)
  /** @type {unknown} */
  const items = Object(answer?.body).items
  return Array.isArray(items) ? items.map(({ name }) => String(name)) : []
}

/** What is typed so far becomes labels, where it is one. */
async function pickTyped() {
  await readField()
  if (!typedLabel) return
  pickLabels([typedLabel])
  searchField.value = ''
  typedLabel = undefined
}

export function startSearch() {
  searchField.addEventListener('input', async (event) => {
    // One that was chosen from the list comes whole.
    const isChosen = !(event instanceof InputEvent) || event.inputType === 'insertReplacementText'
    const [last = '', ...before] = searchField.value.split(',').reverse()
    if (before.length > 0) {
      pickLabels(before.reverse().map((name) => name.trim()))
      searchField.value = last.trim()
    }
    if (isChosen) await pickTyped()
    search(isChosen ? 0 : TYPING_MS)
  })
  searchField.addEventListener('keydown', (event) => {
    if (event.key !== 'Backspace' || searchField.value !== '' || pickedLabels.length === 0) return
    pickedLabels = pickedLabels.slice(0, -1)
    search(0)
  })
  filterForm.addEventListener('input', (event) => {
    if (event.target !== searchField) search(0)
  })
  filterForm.addEventListener('submit', async (event) => {
    event.preventDefault()
    await pickTyped()
    search(0)
  })
  byId('clear', HTMLButtonElement).onclick = () => {
    emptyForm()
    pickedLabels = []
    setFilters(filterQuery())
    searchField.focus()
  }
  filterChanges.subscribe(renderFilters)
  restoreFilters()
}
