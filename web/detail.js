// @ts-check

/**
 * One photo in detail: the picture with boxes, what was found, facts, and how programs see it.
 *
 * @import { RekognitionFace, RekognitionLabel } from '../shared/image.ts'
 * @import { TextDetection } from './words.js'
 * @import { ImageRecord, Photo } from './store.js'
 */

import { actionsFor } from './actions.js'
import { readWhole } from './follow.js'
import { isTooLarge } from './preview.js'
import { ask, askUntilAnswered, imageUrl, pictureUrl, token } from './server.js'
import {
  deletions,
  hasResults,
  isOnServer,
  isRecord,
  listChanges,
  neighbour,
  open,
  opened,
  openings,
  photoChanges,
  photoOf,
  photos,
} from './store.js'
import { byId, copyable, elapsed, h, number, percent, setText, size, words } from './tools.js'
import { announce, explain, isStandIn, linesOf, note, noticeElement, noticeFor, statusText } from './words.js'
import { resetZoom, zoomByKey } from './zoom.js'

const detail = byId('detail', HTMLDialogElement)
const detailBody = byId('detail-body', HTMLElement)
const detailTitle = byId('detail-title', HTMLElement)
const detailStatus = byId('detail-status', HTMLElement)
const canvas = byId('canvas', HTMLElement)
const panel = byId('panel', HTMLElement)
const boxesTool = byId('boxes-tool', HTMLElement)
const leastTool = byId('least-tool', HTMLElement)
const least = byId('least', HTMLInputElement)
const erase = byId('erase', HTMLButtonElement)
const download = byId('download', HTMLAnchorElement)
const previous = byId('previous', HTMLButtonElement)
const next = byId('next', HTMLButtonElement)

/** What the panel shows, to leave it alone while only a percentage changes. @type {unknown[]} */
let shownFacts = []
/** Where the picture comes from. */
let shownSource = ''
/** The boxes that were picked by a click on a label or face. */
let picked = ''

/** @param {Photo} photo */
function showDetail(photo) {
  shownFacts = []
  picked = ''
  // An entry of its own, so that Back closes the dialog, as on a phone it must; and an address of its own.
  const address = isOnServer(photo) ? addressOf(photo.key) : location.hash
  if (!detail.open && location.hash !== address) history.pushState({ detail: true }, '', address)
  else history.replaceState(history.state, '', address)
  renderDetail()
  if (!detail.open) detail.showModal()
  panel.scrollTop = 0
  detailBody.scrollTop = 0
}

/** @param {string} imageId */
const addressOf = (imageId) => `#/photos/${imageId}`

/** Shows the photo that the page's address names, which a list need not have. */
async function openAddressed() {
  const [, key] = /^#\/photos\/([\w-]+)$/.exec(location.hash) ?? []
  if (!key) return open(undefined)
  if (opened?.key === key) return
  const known = photos.get(key)
  if (known) return open(known)
  const { hash } = location
  const answer = await askUntilAnswered(imageUrl(key))
  if (location.hash !== hash) return
  if (answer.status === 200 && isRecord(answer.body)) return open(photoOf(answer.body))
  // A busy server may have it at the next try.
  if (answer.status === 404) history.replaceState(null, '', location.pathname + location.search)
  note(`The photo of this address: ${explain(answer).what}`)
}

function renderDetail() {
  const photo = opened
  if (!photo) return
  // A list leaves out the results of Rekognition.
  if (photo.phase === 'completed' && !hasResults(photo.record)) readWhole(photo)
  detail.dataset['phase'] = photo.phase
  setText(detailTitle, photo.name)
  setText(detailStatus, statusText(photo))
  erase.hidden = !isOnServer(photo)
  previous.disabled = !neighbour(photo, -1)
  next.disabled = !neighbour(photo, 1)
  const facts = [photo, photo.phase, photo.record, photo.problem]
  if (facts.every((fact, at) => fact === shownFacts[at])) return
  shownFacts = facts
  renderPicture(photo)
  const hadFocus = panel.contains(document.activeElement)
  panel.replaceChildren(...panelSections(photo))
  if (hadFocus) detailTitle.focus()
  hideUnsure()
}

/** @param {1 | -1} by */
function step(by) {
  const photo = neighbour(opened, by)
  if (!photo) return
  open(photo)
  announce(`${photo.name}, ${statusText(photo)}`)
}

/** @param {Photo} photo */
function renderPicture({ key, name, phase, preview, record }) {
  const onServer = record?.original?.sha256 && phase !== 'gone'
  download.hidden = !onServer
  download.href = imageUrl(key, '/original')
  download.onclick = async (event) => {
    if (!token) return
    event.preventDefault() // a link cannot send the token
    const url = await pictureUrl(key, '/original')
    // An empty one would load the page again.
    if (url) return location.assign(url)
    const trouble = `${name} cannot be downloaded now.`
    setText(detailStatus, trouble)
    announce(trouble)
  }
  const part = record?.preview ? '/preview' : '/original'
  // Boxes are drawn over the preview, which is upright: browsers do not turn a WebP by its EXIF data.
  const local = record?.preview ? undefined : preview
  // A list says of no image whether it has a preview; the whole record is on its way.
  const known = onServer && (phase !== 'completed' || hasResults(record))
  const source = local ?? (known ? imageUrl(key, part) : '')
  if (source !== shownSource) {
    resetZoom()
    shownSource = source
    const waiting = h('p', { className: 'muted' }, 'Loading the picture…')
    const image = h('img', { alt: name, decoding: 'async' })
    const frame = h('div', { className: 'frame', hidden: true }, image)
    image.onload = () => {
      if (isTooLarge(image)) {
        waiting.textContent = `This picture has too many pixels to be shown here.${onServer ? ' Download it to see it.' : ''}`
        return
      }
      waiting.remove()
      frame.hidden = false
      hideCovered()
    }
    image.onerror = () => {
      waiting.textContent = 'The browser cannot show this picture.'
    }
    canvas.replaceChildren(waiting, frame)
    if (local || !onServer) image.src = source
    else if (known)
      Promise.resolve(pictureUrl(key, part)).then((url) => {
        image.src = url
      })
  }
  renderBoxes(record)
}

/**
 * @typedef {{ group: string, kind: 'face' | 'label' | 'text', name: string, confidence: number | undefined,
 *   box: NonNullable<RekognitionFace['BoundingBox']> }} Box
 */

/** Every box with its place, as fractions of the upright picture. @param {ImageRecord | undefined} record */
function boxesOf(record) {
  /** @type {Box[]} */
  const boxes = []
  for (const label of record?.rekognitionLabels ?? []) {
    for (const { BoundingBox, Confidence } of label.Instances ?? []) {
      if (!BoundingBox) continue
      const group = `label ${label.Name}`
      boxes.push({ group, kind: 'label', name: label.Name, confidence: Confidence, box: BoundingBox })
    }
  }
  for (const [at, { BoundingBox, Confidence }] of (record?.rekognitionFaces ?? []).entries()) {
    if (!BoundingBox) continue
    const name = `Face ${at + 1}`
    boxes.push({ group: `face ${at}`, kind: 'face', name, confidence: Confidence, box: BoundingBox })
  }
  for (const [at, { DetectedText, Confidence, Geometry }] of linesOf(record).entries()) {
    if (!Geometry?.BoundingBox) continue
    const box = Geometry.BoundingBox
    boxes.push({ group: `text ${at}`, kind: 'text', name: DetectedText, confidence: Confidence, box })
  }
  return boxes
}

/** @typedef {{ Name: string, Confidence: number, ParentName?: string }} ModerationLabel */

/** More names than this hide the picture; then a name shows only when its row is pointed at. */
const CROWD = 10

/** @param {ImageRecord | undefined} record */
function renderBoxes(record) {
  const frame = canvas.querySelector('.frame')
  for (const old of canvas.querySelectorAll('.box')) old.remove()
  const boxes = boxesOf(record)
  boxesTool.hidden = boxes.length === 0
  leastTool.hidden = boxes.length === 0
  if (!frame) return
  frame.classList.toggle('crowded', boxes.length > CROWD)
  /** @type {string[]} */
  const spots = []
  for (const { group, kind, name, confidence, box } of boxes) {
    const { Left = 0, Top = 0, Width = 0, Height = 0 } = box
    const tag = h('span', {}, h('bdi', {}, name), ` ${percent(confidence)}`)
    const element = h('div', { className: `box ${kind}`, 'aria-hidden': true }, tag)
    element.dataset['group'] = group
    element.dataset['confidence'] = String(confidence ?? 0)
    element.onpointerenter = () => light(group)
    element.onpointerleave = () => light(picked)
    element.style.left = `${Left * 100}%`
    element.style.top = `${Top * 100}%`
    element.style.width = `${Width * 100}%`
    element.style.height = `${Height * 100}%`
    // Two labels often have the same box (Person, Officer): the second one's name goes to its foot.
    const spot = `${Left.toFixed(1)} ${Top.toFixed(1)}`
    element.classList.toggle('foot', spots.includes(spot))
    spots.push(spot)
    element.classList.toggle('inside', Top < 0.08)
    element.classList.toggle('from-right', Left > 0.6)
    // A small one is reached before a large one that it lies in.
    element.style.zIndex = String(Math.round(100 * (1 - Width * Height)))
    frame.append(element)
  }
  light(picked)
  hideUnsure()
}

/** Only what is as sure as the slider says is seen, in the picture and beside it. */
function hideUnsure() {
  const wanted = least.valueAsNumber
  setText(byId('least-value', HTMLElement), `${wanted}%`)
  for (const element of detail.querySelectorAll('[data-confidence]'))
    if (element instanceof HTMLElement)
      element.classList.toggle('unsure', Number(element.dataset['confidence']) < wanted)
  hideCovered()
}

/** Of names that would lie over each other the first one is seen; the others are when their boxes or rows are pointed at. */
function hideCovered() {
  /** @type {DOMRect[]} */
  const seen = []
  for (const box of canvas.querySelectorAll('.box')) {
    box.classList.remove('covered')
    const place = box.firstElementChild?.getBoundingClientRect()
    if (!place?.width) continue
    const isCovered = seen.some(
      ({ left, right, top, bottom }) =>
        place.left < right && left < place.right && place.top < bottom && top < place.bottom,
    )
    box.classList.toggle('covered', isCovered)
    if (!isCovered) seen.push(place)
  }
}

/** Brings out the boxes of one label or face; none: all are alike again. @param {string} group */
function light(group) {
  let any = false
  for (const box of canvas.querySelectorAll('.box')) {
    const isLit = group !== '' && box instanceof HTMLElement && box.dataset['group'] === group
    box.classList.toggle('lit', isLit)
    any ||= isLit
  }
  canvas.classList.toggle('lighting', any)
  for (const other of panel.querySelectorAll('[data-group]'))
    if (other instanceof HTMLElement) other.classList.toggle('lit', other.dataset['group'] === group)
}

/**
 * A name with its confidence. Where there are boxes for it, they come out while the row is pointed at or
 * focused, and stay so when it is clicked.
 *
 * @param {string} name
 * @param {number | undefined} confidence
 * @param {{ group?: string | false | undefined, small?: string, className?: string, always?: boolean }} [options]
 *   `group` is that of the boxes; `always` is said however unsure
 */
function row(name, confidence = 0, { group, small, className = '', always = false } = {}) {
  const filled = h('i')
  filled.style.width = `${Math.min(Math.max(confidence, 0), 100)}%`
  const cells = [
    h(
      'span',
      { className: 'name' },
      group && h('span', { className: `swatch ${className}`, 'aria-hidden': true }),
      h('bdi', {}, name),
      small && h('small', {}, ` ${small}`),
    ),
    h('span', { className: 'bar', 'aria-hidden': true }, filled),
    h('span', { className: 'value' }, percent(confidence)),
  ]
  if (!group) return withConfidence(h('div', { className: 'row' }, ...cells), always ? 100 : confidence)
  const pressed = picked === group
  const button = h('button', { type: 'button', className: 'row', 'aria-pressed': pressed }, ...cells)
  button.dataset['group'] = group
  button.onpointerenter = button.onfocus = () => light(group)
  button.onpointerleave = button.onblur = () => light(picked)
  button.onclick = () => {
    picked = picked === group ? '' : group
    for (const other of panel.querySelectorAll('[aria-pressed]')) other.setAttribute('aria-pressed', 'false')
    button.setAttribute('aria-pressed', String(picked === group))
    light(picked)
  }
  return withConfidence(button, confidence)
}

/** @template {HTMLElement} T @param {T} element @param {number} confidence */
function withConfidence(element, confidence) {
  element.dataset['confidence'] = String(confidence)
  return element
}

/** @param {Photo} photo */
function panelSections(photo) {
  const { record, problem, phase } = photo
  const sections = []
  if (problem) {
    const actions = actionsFor(photo)
    sections.push(
      h(
        'div',
        { className: 'notice bad' },
        h('p', {}, h('strong', {}, problem.what), ` ${problem.todo}`),
        problem.code &&
          h('p', { className: 'said' }, [problem.code, problem.said].filter(Boolean).join(': ')),
        h('div', { className: 'actions', hidden: actions.length === 0 }, ...actions),
      ),
    )
  } else if (phase !== 'completed') {
    sections.push(h('p', { className: 'notice' }, 'The results appear here as soon as they are there.'))
  }
  const notice = noticeFor(record)
  if (notice) sections.push(noticeElement(notice))
  if (record?.rekognitionLabels) sections.push(labelSection(record.rekognitionLabels))
  if (record?.rekognitionFaces) sections.push(faceSection(record.rekognitionFaces, isStandIn(record)))
  if (record?.facesSkipped) sections.push(skippedFaces())
  if (record?.rekognitionModerationLabels)
    sections.push(moderationSection(record.rekognitionModerationLabels, record.moderationModelVersion))
  if (record?.rekognitionTextDetections) sections.push(textSection(linesOf(record), record.textModelVersion))
  if (phase === 'completed' && !hasResults(record)) {
    sections.push(h('p', { className: 'muted' }, 'Loading the results…'))
  }
  sections.push(fileSection(photo))
  if (record && isOnServer(photo)) sections.push(developerSection(photo, record))
  return sections
}

/** @param {string} title @param {number} [count] */
const heading = (title, count) =>
  h('h3', {}, title, count !== undefined && count > 0 && h('small', {}, number(count)))

/** Labels that are seen without a click. */
const FIRST_LABELS = 12

/** @param {RekognitionLabel[]} labels */
function labelSection(labels) {
  const rows = labels.map((label) => {
    const boxes = (label.Instances ?? []).filter((instance) => instance.BoundingBox).length
    const parents = (label.Parents ?? []).map((parent) => parent.Name).filter(Boolean)
    const small = [boxes > 1 && `${boxes} ×`, ...parents].filter(Boolean).join(', ')
    const group = boxes > 0 && `label ${label.Name}`
    return h('li', {}, row(label.Name, label.Confidence, { group, small }))
  })
  const rest = rows.splice(FIRST_LABELS)
  return h(
    'section',
    {},
    heading('Labels', labels.length),
    labels.length === 0 && h('p', { className: 'muted' }, 'No label has enough confidence to be shown.'),
    h('ul', { className: 'rows' }, ...rows),
    rest.length > 0 &&
      h('details', {}, h('summary', {}, `${rest.length} more`), h('ul', { className: 'rows' }, ...rest)),
  )
}

/** Degrees from which a face is said to be turned. */
const TURNED = 15
/** Seen from the one who looks at the picture. @param {RekognitionFace} face */
function poseText({ Pose }) {
  const { Yaw = 0, Pitch = 0, Roll = 0 } = /** @type {Record<string, number>} */ (Object(Pose))
  /** @type {[degrees: number, below: string, above: string][]} */
  const turns = [
    [Yaw, 'turned to the left', 'turned to the right'],
    [Pitch, 'looks down', 'looks up'],
    [Roll, 'leans to the left', 'leans to the right'],
  ]
  return turns
    .filter(([degrees]) => Math.abs(degrees) >= TURNED)
    .map(([degrees, below, above]) => `${degrees < 0 ? below : above}, ${number(Math.abs(degrees))}°`)
    .join(' · ')
}

/** The face alone, cut out of the picture beside it. @param {NonNullable<RekognitionFace['BoundingBox']>} box */
function faceCrop({ Left = 0, Top = 0, Width = 0, Height = 0 }) {
  const crop = h('div', { className: 'crop', 'aria-hidden': true })
  const image = canvas.querySelector('img')
  if (!image || Width <= 0 || Height <= 0) return crop
  const show = () => {
    const { naturalWidth, naturalHeight } = image
    // A square around the face, in pixels of the picture.
    const side = 1.3 * Math.max(Width * naturalWidth, Height * naturalHeight)
    /** @param {number} begin @param {number} size @param {number} whole */
    const place = (begin, size, whole) =>
      Math.min(Math.max(0, (begin + size / 2) * whole - side / 2), whole - side)
    const [x, y] = [place(Left, Width, naturalWidth), place(Top, Height, naturalHeight)]
    if (!(side > 0)) return
    crop.style.backgroundImage = `url("${image.src}")`
    crop.style.backgroundSize = `${(naturalWidth / side) * 100}% ${(naturalHeight / side) * 100}%`
    const percentOf = (begin = 0, whole = 0) => (whole > side ? (begin / (whole - side)) * 100 : 0)
    crop.style.backgroundPosition = `${percentOf(x, naturalWidth)}% ${percentOf(y, naturalHeight)}%`
  }
  if (image.complete && image.naturalWidth > 0) show()
  else image.addEventListener('load', show)
  return crop
}

const skippedFaces = () =>
  h(
    'section',
    {},
    heading('Faces'),
    h('p', { className: 'muted' }, 'Faces were not looked for, as the labels show no person.'),
  )

/** @param {RekognitionFace[]} faces @param {boolean} standIn */
function faceSection(faces, standIn) {
  const people = faces.map((face, at) => {
    const { AgeRange, Gender } = face
    const guess = [
      AgeRange && `Looks ${AgeRange.Low ?? '?'} to ${AgeRange.High ?? '?'} years old`,
      Gender?.Value && `${words(Gender.Value)} ${percent(Gender.Confidence)}`,
      poseText(face),
    ].filter(Boolean)
    const emotions = (face.Emotions ?? [])
      .toSorted((a, b) => (b.Confidence ?? 0) - (a.Confidence ?? 0))
      .filter(({ Confidence = 0 }, rank) => rank === 0 || (rank < 4 && Confidence >= 1))
      .map(({ Type, Confidence }) => h('li', {}, row(words(Type), Confidence, { always: true })))
    const group = face.BoundingBox && `face ${at}`
    return h(
      'div',
      { className: 'person' },
      h('div', { className: 'rows' }, row(`Face ${at + 1}`, face.Confidence, { group, className: 'face' })),
      guess.length > 0 && h('p', { className: 'guess' }, guess.join(' · ')),
      face.BoundingBox && faceCrop(face.BoundingBox),
      h('ul', { className: 'rows', 'aria-label': `Emotions of face ${at + 1}` }, ...emotions),
    )
  })
  const none = standIn ? 'The stand-in does not look for faces.' : 'No face was found.'
  return h(
    'section',
    {},
    heading('Faces', faces.length),
    faces.length === 0 && h('p', { className: 'muted' }, none),
    ...people,
  )
}

/**
 * The stand-in has no model for it: to have found nothing means nothing then.
 *
 * @param {string | undefined} version @param {string} nothing
 */
const emptyText = (version, nothing) =>
  version === 'stand-in' ? 'Not analysed: no model for this is in use here.' : nothing

/** @param {ModerationLabel[]} labels @param {string | undefined} version */
function moderationSection(labels, version) {
  return h(
    'section',
    {},
    heading('Moderation', labels.length),
    labels.length === 0 &&
      h('p', { className: 'muted' }, emptyText(version, 'Nothing that would need a moderator.')),
    h(
      'ul',
      { className: 'rows' },
      ...labels.map(({ Name, Confidence, ParentName = '' }) =>
        h('li', {}, row(Name, Confidence, { small: ParentName })),
      ),
    ),
  )
}

/** @param {TextDetection[]} lines @param {string | undefined} version */
function textSection(lines, version) {
  return h(
    'section',
    {},
    heading('Text', lines.length),
    lines.length === 0 && h('p', { className: 'muted' }, emptyText(version, 'No text was found.')),
    h(
      'ul',
      { className: 'rows' },
      ...lines.map(({ DetectedText, Confidence, Geometry }, at) => {
        const group = Geometry?.BoundingBox && `text ${at}`
        return h('li', {}, row(DetectedText, Confidence, { group, className: 'text' }))
      }),
    ),
  )
}

/** How a program sees this photo. @param {Photo} photo @param {ImageRecord} record */
function developerSection({ key, phase }, record) {
  const who = token ? " -H 'Authorization: Bearer YOUR_TOKEN'" : ''
  const section = h(
    'section',
    {},
    heading('For programs'),
    copyable('curl command', `curl${who} '${imageUrl(key)}'`),
    fold('The record as JSON', () => copyable('record', JSON.stringify(record, null, 2))),
  )
  if (phase !== 'completed' && phase !== 'failed') return section
  section.append(
    fold('The event that subscribers got', async () => {
      const answer = await ask(imageUrl(key, '/event'))
      if (answer?.status !== 200)
        return h('p', { className: 'muted' }, 'The server did not send it. Open this again.')
      return copyable('event', JSON.stringify(answer.body, null, 2))
    }),
  )
  return section
}

/** What is made only when it is opened. @param {string} title @param {() => HTMLElement | Promise<HTMLElement>} make */
function fold(title, make) {
  const details = h('details', {}, h('summary', {}, title))
  details.ontoggle = async () => {
    if (!details.open) return
    const made = await make()
    details.querySelector(':scope > :not(summary)')?.remove()
    details.append(made)
  }
  return details
}

/** @param {Photo} photo */
function fileSection({ file, record, name }) {
  const original = record?.original
  const bytes = original?.bytes ?? file?.size
  const { width, height } = original ?? {}
  /** @type {[term: string, value: string | false | undefined, className?: string][]} */
  const facts = [
    ['Name', original?.filename ?? file?.name ?? name],
    ['Type', original?.contentType ?? file?.type],
    ['Size', bytes !== undefined && size(bytes)],
    [
      'Pixels',
      width && height
        ? `${number(width)} × ${number(height)}${width * height < 1e5 ? '' : ` (${number((width * height) / 1e6, 1)} megapixels)`}`
        : '',
    ],
    [
      'Added',
      record?.createdAt &&
        new Date(record.createdAt).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' }),
    ],
    ['Taken', takenText(record?.metadata?.capturedAt)],
    ['Camera', cameraText(record?.metadata)],
    ['Lens', record?.metadata?.lens],
    ['Took', record?.createdAt && record.completedAt && elapsed(record.createdAt, record.completedAt)],
    ['Model', record?.labelModelVersion],
    ['Image id', record?.imageId, 'mono'],
    ['SHA-256', original?.sha256, 'mono'],
  ]
  const list = h('dl')
  for (const [term, value, className = ''] of facts) {
    if (value) list.append(h('dt', {}, term), h('dd', { className }, h('bdi', {}, value)))
  }
  return h('section', {}, heading('File'), list)
}

/** By the camera's clock, not by the clock here. @param {string | undefined} capturedAt */
function takenText(capturedAt) {
  if (!capturedAt) return ''
  const [clock, offset] = [capturedAt.slice(0, 19), capturedAt.slice(19)]
  const options = /** @type {const} */ ({ dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' })
  const zone = offset === '' ? 'by the camera’s clock' : `UTC${offset === 'Z' ? '' : offset}`
  return `${new Date(`${clock}Z`).toLocaleString('en', options)} (${zone})`
}

/** Many makers begin the model with their name. @param {ImageRecord['metadata']} metadata */
function cameraText({ make = '', model = '' } = {}) {
  return model.toLowerCase().startsWith(make.toLowerCase()) ? model : `${make} ${model}`.trim()
}

export function startDetail() {
  previous.onclick = () => step(-1)
  next.onclick = () => step(1)
  erase.onclick = () => opened && deletions.publish([opened])
  byId('close', HTMLButtonElement).onclick = () => detail.close()
  least.oninput = hideUnsure

  detail.addEventListener('click', (event) => {
    if (event.target === detail) detail.close() // the ground behind it
  })
  detail.addEventListener('keydown', (event) => {
    if (event.altKey) return // Alt and an arrow is the browser's Back and Forward
    if (event.target instanceof Element && event.target.closest('pre')) return // there the arrows scroll
    const isField = event.target instanceof HTMLInputElement
    if (!isField && !event.ctrlKey && !event.metaKey && zoomByKey(event.key)) return event.preventDefault()
    if (event.target === least) return // the slider has arrows of its own
    if (event.key === 'ArrowLeft') step(-1)
    if (event.key === 'ArrowRight') step(1)
  })
  detail.addEventListener('close', () => {
    if (detail.open) return // It was opened again.
    shownSource = ''
    canvas.replaceChildren()
    panel.replaceChildren()
    open(undefined)
    if (history.state?.detail) history.back()
    else history.replaceState(null, '', location.pathname + location.search)
  })
  new ResizeObserver(hideCovered).observe(canvas)
  byId('boxes', HTMLInputElement).onchange = hideCovered // what is not shown covers nothing
  addEventListener('popstate', openAddressed)
  openings.subscribe(() => (opened ? showDetail(opened) : detail.close()))
  photoChanges.subscribe((photo) => photo === opened && renderDetail())
  listChanges.subscribe(renderDetail)
  openAddressed()
}
