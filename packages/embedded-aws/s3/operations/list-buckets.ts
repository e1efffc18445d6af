import { s3Document, sendXml } from '../errors.ts'
import { inOrder, isAfter, owner } from '../listing.ts'
import type { Operation } from '../operation.ts'
import { xml } from '../xml.ts'

/** The most that one answer has (API reference, ListBuckets). */
const MOST = 10_000

export const listBuckets: Operation = ({ fauxqs }, { query, response }) => {
  const prefix = query.get('prefix') ?? ''
  const after = Buffer.from(query.get('continuation-token') ?? '', 'base64').toString('utf8')
  const count = Math.min(MOST, Number(query.get('max-buckets') ?? MOST)) || MOST
  const names = inOrder(fauxqs.s3Store.buckets.keys(), (name) => name).filter(
    (name) => name.startsWith(prefix) && isAfter(name, after),
  )
  const page = names.slice(0, count)
  const next = names.length > count ? page.at(-1) : undefined
  sendXml(
    response,
    200,
    s3Document('ListAllMyBucketsResult', [
      owner('Owner'),
      xml(
        'Buckets',
        page.map((name) => {
          const created = fauxqs.s3Store.bucketCreationDates.get(name) ?? new Date(0)
          return xml('Bucket', [xml('Name', name), xml('CreationDate', created.toISOString())])
        }),
      ),
      ...(prefix === '' ? [] : [xml('Prefix', prefix)]),
      ...(next === undefined ? [] : [xml('ContinuationToken', Buffer.from(next).toString('base64'))]),
    ]),
  )
}
