import { malformedXml, S3Error, s3Document } from './errors.ts'
import { parseXml, xml } from './xml.ts'

/**
 * A bucket's CORS rules, by S3's rules: user guide, "Elements of a CORS configuration"; API reference, PutBucketCors
 * and OPTIONS object. What those leave open is as recorded from S3 by LocalStack's validated tests.
 */
export interface CorsRule {
  ID?: string
  AllowedHeader: string[]
  AllowedMethod: string[]
  AllowedOrigin: string[]
  ExposeHeader: string[]
  MaxAgeSeconds?: number
}

/** @param ResourceType BUCKET or OBJECT */
export const corsForbidden = (why: string, Method: string, ResourceType: string): S3Error =>
  new S3Error('AccessForbidden', `CORSResponse: ${why}`, 403, { Method, ResourceType })
export const NOT_ALLOWED =
  // "evalution" is how S3 writes it.
  "This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."

const METHODS = ['GET', 'PUT', 'HEAD', 'POST', 'DELETE']
const MAX_RULES = 100

const invalid = (message: string): S3Error => new S3Error('InvalidRequest', message)

/** @throws S3Error for what PutBucketCors refuses */
export function parseCors(document: string): CorsRule[] {
  const root = parseXml(document)
  if (root?.name !== 'CORSConfiguration' || root.children.length === 0) throw malformedXml()
  if (root.children.length > MAX_RULES)
    throw invalid(`The number of CORS rules should not exceed allowed limit of ${MAX_RULES} rules.`)
  return root.children.map(({ name, children }) => {
    const known = ['ID', 'AllowedHeader', 'AllowedMethod', 'AllowedOrigin', 'ExposeHeader', 'MaxAgeSeconds']
    if (name !== 'CORSRule' || children.some((child) => !known.includes(child.name))) throw malformedXml()
    const texts = (of: string) => children.filter((child) => child.name === of).map((child) => child.text)
    const [ID] = texts('ID')
    const [age] = texts('MaxAgeSeconds')
    if (age !== undefined && !/^\d{1,9}$/.test(age)) throw malformedXml()
    const rule = {
      ...(ID === undefined ? {} : { ID }),
      AllowedHeader: texts('AllowedHeader'),
      AllowedMethod: texts('AllowedMethod'),
      AllowedOrigin: texts('AllowedOrigin'),
      ExposeHeader: texts('ExposeHeader'),
      ...(age === undefined ? {} : { MaxAgeSeconds: Number(age) }),
    }
    check(rule)
    return rule
  })
}

function check(rule: CorsRule): void {
  if (rule.AllowedMethod.length === 0 || rule.AllowedOrigin.length === 0) throw malformedXml()
  const unsupported = rule.AllowedMethod.find((method) => !METHODS.includes(method))
  if (unsupported !== undefined)
    throw invalid(`Found unsupported HTTP method in CORS config. Unsupported method is ${unsupported}`)
  for (const element of ['AllowedOrigin', 'AllowedHeader'] as const) {
    const wild = rule[element].find((pattern) => pattern.split('*').length > 2)
    if (wild !== undefined) throw invalid(`${element} "${wild}" can not have more than one wildcard.`)
  }
  const exposed = rule.ExposeHeader.find((header) => header.includes('*'))
  if (exposed !== undefined)
    throw invalid(
      `ExposeHeader "${exposed}" contains wildcard. We currently do not support wildcard for ExposeHeader.`,
    )
}

export function corsDocument(rules: CorsRule[]): string {
  return s3Document(
    'CORSConfiguration',
    rules.map((rule) =>
      xml(
        'CORSRule',
        Object.entries(rule).flatMap(([name, value]) =>
          [value].flat().map((one: string | number) => xml(name, one)),
        ),
      ),
    ),
  )
}

/** The headers of a request that its rule is chosen by. */
export interface CorsRequest {
  origin: string
  /** The method that is asked for, in a preflight; that of the request itself otherwise. */
  method: string
  /** `Access-Control-Request-Headers`, which only a preflight has. */
  headers: string
}

/** What the first rule that matches adds to an answer; `undefined` where none does. */
export function corsHeaders(rules: CorsRule[], request: CorsRequest): Record<string, string> | undefined {
  const requested = request.headers
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  const rule = rules.find(
    ({ AllowedOrigin, AllowedMethod, AllowedHeader }) =>
      AllowedOrigin.some((pattern) => matches(pattern, request.origin)) &&
      AllowedMethod.includes(request.method) &&
      requested.every((name) => AllowedHeader.some((pattern) => matches(pattern.toLowerCase(), name))),
  )
  if (rule === undefined) return undefined
  const anyOrigin = rule.AllowedOrigin.includes('*')
  const list = (name: string, values: string[]) => (values.length > 0 ? { [name]: values.join(', ') } : {})
  return {
    'access-control-allow-origin': anyOrigin ? '*' : request.origin,
    ...(anyOrigin ? {} : { 'access-control-allow-credentials': 'true' }),
    ...list('access-control-allow-methods', rule.AllowedMethod),
    ...list('access-control-allow-headers', requested),
    ...list('access-control-expose-headers', rule.ExposeHeader),
    ...(rule.MaxAgeSeconds === undefined ? {} : { 'access-control-max-age': String(rule.MaxAgeSeconds) }),
    vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
  }
}

/** `*` stands for any text, also for none. */
function matches(pattern: string, text: string): boolean {
  const [before = '', after] = pattern.split('*')
  if (after === undefined) return text === pattern
  return text.length >= before.length + after.length && text.startsWith(before) && text.endsWith(after)
}

/**
 * The answer to an OPTIONS request. S3 looks neither at the key nor at a signature for it.
 *
 * @param rules `undefined` for a bucket without a CORS configuration
 * @throws S3Error where a browser is not to go on
 */
export function preflight(
  headers: { origin?: string | undefined; method?: string | undefined; requested?: string | undefined },
  bucket: { exists: boolean; rules: CorsRule[] | undefined },
  resource: 'BUCKET' | 'OBJECT',
): Record<string, string> {
  const { origin, method, requested = '' } = headers
  if (origin === undefined)
    throw new S3Error('BadRequest', 'Insufficient information. Origin request header needed.')
  const forbidden = (why: string, on: string) => corsForbidden(why, method ?? 'OPTIONS', on)
  if (!bucket.exists) throw forbidden('Bucket not found', 'BUCKET')
  if (bucket.rules === undefined) throw forbidden('CORS is not enabled for this bucket.', 'BUCKET')
  if (method === undefined || !METHODS.includes(method))
    throw new S3Error('BadRequest', `Invalid Access-Control-Request-Method: ${method ?? 'null'}`)
  const allowed = corsHeaders(bucket.rules, { origin, method, headers: requested })
  if (allowed === undefined) throw forbidden(NOT_ALLOWED, resource)
  return allowed
}
