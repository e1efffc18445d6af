import { S3Error, tooLarge } from './errors.ts'

/**
 * What a form may hold by the policy that it brings along: developer guide, "POST Policy". Messages, and the order of
 * the checks, are as recorded from S3 by LocalStack's validated tests and in issue trackers.
 */
export interface PostForm {
  /** By lower-case name, since S3 does not mind the case; `${filename}` is replaced already. */
  fields: Map<string, { name: string; value: string }>
  fileBytes: number
}

const accessDenied = (message: string): S3Error => new S3Error('AccessDenied', message, 403)
const invalidPolicy = (message: string): S3Error =>
  new S3Error('InvalidPolicyDocument', `Invalid Policy: ${message}`)

/**
 * @param base64 the policy as it stands in the form
 * @throws S3Error with the refusal
 */
export function checkPolicy(base64: string, form: PostForm, bucket: string, now: Date): void {
  const { expiration, conditions } = parsePolicy(base64)
  if (now.getTime() > expiration) throw accessDenied('Invalid according to Policy: Policy expired.')
  const covered = new Set(conditions.map((condition) => checkCondition(condition, form, bucket)))
  const extra = [...form.fields]
    .filter(([name]) => !NEED_NO_CONDITION.has(name) && !name.startsWith('x-ignore-') && !covered.has(name))
    .map(([, field]) => field.name)
  if (extra.length > 0)
    throw accessDenied(`Invalid according to Policy: Extra input fields: ${extra.join(', ')}`)
}

/** The last two are of a form that is signed by version 2. */
const NEED_NO_CONDITION = new Set(['policy', 'x-amz-signature', 'awsaccesskeyid', 'signature'])

function parsePolicy(base64: string): { expiration: number; conditions: unknown[] } {
  let policy: unknown
  try {
    policy = JSON.parse(Buffer.from(base64, 'base64').toString('utf8'))
  } catch {
    throw invalidPolicy('Invalid JSON.')
  }
  if (typeof policy !== 'object' || policy === null || Array.isArray(policy))
    throw invalidPolicy('Invalid JSON.')
  const { expiration, conditions, ...others } = policy as Record<string, unknown>
  const [unexpected] = Object.keys(others)
  if (unexpected !== undefined) throw invalidPolicy(`Unexpected: '${unexpected.toLowerCase()}'`)
  if (expiration === undefined) throw invalidPolicy('Policy missing expiration.')
  if (conditions === undefined) throw invalidPolicy('Policy missing conditions.')
  // In UTC only, where `Date.parse` alone would take an offset and much more.
  const ends = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(String(expiration))
    ? Date.parse(String(expiration))
    : Number.NaN
  if (Number.isNaN(ends)) throw invalidPolicy(`Invalid 'expiration' value: '${expiration}'`)
  if (!Array.isArray(conditions)) throw invalidPolicy("Invalid 'conditions' value: must be a List.")
  return { expiration: ends, conditions }
}

/** @returns the lower-case name of the field that the condition is for */
function checkCondition(condition: unknown, form: PostForm, bucket: string): string {
  if (Array.isArray(condition)) return checkList(condition, form, bucket)
  if (typeof condition !== 'object' || condition === null)
    throw invalidPolicy('Invalid condition: must be a List or Object.')
  const [property, another] = Object.entries(condition)
  if (property === undefined || another !== undefined)
    throw invalidPolicy(
      'Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.',
    )
  const [name, expected] = property
  if (typeof expected !== 'string') throw invalidPolicy('Invalid Simple-Condition: value must be a string.')
  return checkList(['eq', `$${name}`, expected], form, bucket)
}

function checkList(condition: unknown[], form: PostForm, bucket: string): string {
  const failed = (): S3Error => {
    const shown = `[${condition.map((part) => JSON.stringify(part)).join(', ')}]`
    return accessDenied(`Invalid according to Policy: Policy Condition failed: ${shown}`)
  }
  const [operation, first, second] = condition
  if (typeof operation !== 'string') throw invalidPolicy('Invalid Condition: missing operation identifier.')
  const operator = operation.toLowerCase()
  if (!['eq', 'starts-with', 'content-length-range'].includes(operator))
    throw invalidPolicy(`Invalid Condition: unknown operation '${operation}'.`)
  if (condition.length !== 3) throw invalidPolicy(`Invalid ${operation}: wrong number of arguments.`)
  if (operator === 'content-length-range') {
    checkSize(first, second, form.fileBytes, failed)
    return 'content-length-range'
  }
  if (typeof first !== 'string' || typeof second !== 'string') throw invalidPolicy('Invalid JSON.')
  if (!first.startsWith('$')) throw failed()
  const name = first.slice(1).toLowerCase()
  // The bucket is the one that the form was sent to, even if a field of that name has another.
  const value = name === 'bucket' ? bucket : form.fields.get(name)?.value
  // A field that is not there fulfils nothing, not even the condition to start with "".
  if (value === undefined) throw failed()
  if (operator === 'eq' ? value !== second : !startsWith(name, value, second)) throw failed()
  return name
}

/** Of all fields, only a Content-Type is taken for a list where it has commas; then it is each of them that counts. */
const startsWith = (name: string, value: string, prefix: string): boolean =>
  name === 'content-type'
    ? value.split(',').every((type) => type.trim().startsWith(prefix))
    : value.startsWith(prefix)

function checkSize(least: unknown, most: unknown, bytes: number, failed: () => S3Error): void {
  const [MinSizeAllowed, MaxSizeAllowed] = [least, most].map((bound) => {
    if (typeof bound === 'number' && !(Number.isInteger(bound) && bound >= 0))
      throw invalidPolicy('Invalid JSON.')
    if (!/^\d+$/.test(String(bound))) throw failed()
    return Number(bound)
  }) as [number, number]
  if (bytes < MinSizeAllowed)
    throw new S3Error(
      'EntityTooSmall',
      'Your proposed upload is smaller than the minimum allowed size',
      400,
      { ProposedSize: bytes, MinSizeAllowed },
    )
  if (bytes > MaxSizeAllowed) throw tooLarge(bytes, MaxSizeAllowed)
}
